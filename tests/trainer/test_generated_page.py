"""Generated pages of docs/ are what the tables say, and one that is not is told."""

import pytest

from tests.trainer import generated_page, losses_document
from tests.trainer.hub import document as hub_document

PAGES = {
    "losses.md": losses_document.document,
    "hub-models.md": hub_document.document,
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name):
    page = generated_page.DOCS / name
    assert page.read_text(encoding="utf-8") == PAGES[name](), "run make generate"


def test_a_page_that_is_out_of_date_is_told_and_written_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generated_page, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("old")
    monkeypatch.setattr("sys.argv", ["page", "--check"])
    assert generated_page.main("page.md", "new") == 1
    assert capsys.readouterr().err == "docs/page.md is out of date: run `make generate`\n"
    assert (tmp_path / "page.md").read_text() == "old"
    monkeypatch.setattr("sys.argv", ["page"])
    assert generated_page.main("page.md", "new") == 0
    monkeypatch.setattr("sys.argv", ["page", "--check"])
    assert generated_page.main("page.md", "new") == 0

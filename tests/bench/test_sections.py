"""A result of which some sections are renewed."""

import sections


def test_sections_that_are_not_renewed_keep_what_was_written(tmp_path):
    path = tmp_path / "results" / "some.md"
    sections.write(path, "# Some\n", {"b": "## b\n\nfirst\n", "a": "## a\n\nfirst\n"}, "abc")
    renewed = {**sections.read(path), "a": "## a\n\nsecond\n"}
    sections.write(path, "# Some\n", renewed, "abc")
    assert path.read_text() == "# Some\n\n## a\n\nsecond\n\n## b\n\nfirst\n"


def test_there_are_none_before_the_first(tmp_path):
    assert sections.read(tmp_path / "none.md") == {}

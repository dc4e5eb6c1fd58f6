"""Progress from a metrics page that a user's pod serves, so from anything at all."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from embedtune_api import contract
from embedtune_api.contract import Metric
from embedtune_api.status import Progress
from embedtune_operator.scrape import TOLD_A_SECOND, BadMetrics, Scraper, progress_of
from tests.operator.objects import UID, running


def page(phase: str = "Training", **values: str) -> str:
    lines = [f'{Metric.PHASE}{{phase="{phase}"}} 1']
    return "\n".join(lines + [f"embedtune_trainer_{k} {v}" for k, v in values.items()]) + "\n"


def test_progress() -> None:
    found = progress_of(page(epoch="2", step="150", steps="400", loss="0.0625", eta_seconds="9.6"))
    assert found == Progress(
        summary="37%",
        phase="Training",
        percent=37,
        epoch=2,
        step=150,
        steps=400,
        loss="0.0625",
        eta_seconds=10,
    )


def test_before_the_first_step() -> None:
    found = progress_of(page("Loading", step="0", steps="0"))
    assert (found.summary, found.percent) == ("Loading 0%", 0)


@pytest.mark.parametrize(
    "text", ["", "<html>", "embedtune_trainer_step 1\n", page("Hacking"), page(step="{")]
)
def test_what_is_no_trainers_page(text: str) -> None:
    with pytest.raises(BadMetrics):
        progress_of(text)


@given(st.floats() | st.integers().map(float), st.floats(), st.floats())
def test_any_numbers_make_a_valid_progress(step: float, steps: float, rate: float) -> None:
    found = progress_of(
        page(step=repr(step), steps=repr(steps), loss=repr(rate), eta_seconds=repr(rate))
    )
    assert Progress.parse(found.to_dict()) == found


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadMetrics):
        progress_of(text)


async def test_a_change_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=page(step="1", steps="4"))

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.78", 8123)
    await site.start()
    monkeypatch.setattr(contract, "METRICS_PORT", 8123)
    told: list[str] = []
    scraper = Scraper(interval_s=1, on_change=told.append)
    there = running()
    there = type(there)(**{f: getattr(there, f) for f in there.__slots__} | {"ip": "127.0.0.78"})
    gone = running(name="gone")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
        await scraper.once(session, [there, gone])
        await scraper.once(session, [there, gone])
        telling = asyncio.create_task(scraper.tell())
        await asyncio.sleep(3 / TOLD_A_SECOND)
        telling.cancel()
        assert told == [UID]
        assert [p.percent for p in scraper.progress.values()] == [25]
        await scraper.once(session, [])
    assert scraper.progress == {}
    await runner.cleanup()
    await asyncio.sleep(0)


async def test_however_many_change_only_so_many_a_second_are_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    told: list[str] = []
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(told) == 50:
            enough.set()
            await asyncio.Event().wait()

    scraper = Scraper(interval_s=5, on_change=told.append)
    for number in range(50):
        scraper.changed(f"uid-{number}")
    scraper.changed("uid-3")
    monkeypatch.setattr("embedtune_operator.scrape.asyncio.sleep", sleep)
    telling = asyncio.create_task(scraper.tell())
    await enough.wait()
    telling.cancel()
    assert told == [f"uid-{number}" for number in range(50)], "each once, in their order"
    assert sum(slept) == pytest.approx(50 / TOLD_A_SECOND)

"""Settings from the environment: defaults, and one error that names the variable."""

import pytest

from embedtune_operator.settings import BadSettings, Settings

LEAST = {"EMBEDTUNE_TRAINER_IMAGE": "trainer:1"}


def test_defaults() -> None:
    settings = Settings.from_env(LEAST)
    assert settings.default_cpu == "1"
    assert settings.default_memory == "4Gi"
    assert settings.default_gpus == 0
    assert settings.scratch_size == "20Gi"
    assert settings.metrics_port == 8080
    assert settings.scrape_interval_s == 5
    assert settings.resync_interval_s == 600
    assert settings.namespaces == ()
    assert settings.s3_endpoint is None
    assert settings.log_format == "json"
    assert settings.lease is None


def test_lists_and_blanks() -> None:
    settings = Settings.from_env(
        LEAST | {"EMBEDTUNE_NAMESPACES": " search, ads ,", "EMBEDTUNE_S3_REGION": " "}
    )
    assert settings.namespaces == ("search", "ads")
    assert settings.s3_region is None


def test_the_lease_has_a_namespace() -> None:
    settings = Settings.from_env(LEAST | {"EMBEDTUNE_LEASE": "embedtune-system/embedtune"})
    assert settings.lease == ("embedtune-system", "embedtune")


def test_the_image_is_required() -> None:
    with pytest.raises(BadSettings, match="EMBEDTUNE_TRAINER_IMAGE must be set"):
        Settings.from_env({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRAINER_IMAGE", "two words"),
        ("TRAINER_PULL_POLICY", "Sometimes"),
        ("TRAINER_PULL_SECRETS", "Upper"),
        ("TRAINER_PRIVATE_ADDRESSES", "yes"),
        ("S3_ENDPOINT", "minio:9000"),
        ("DEFAULT_CPU", "many"),
        ("DEFAULT_MEMORY", "0"),
        ("DEFAULT_GPUS", "-1"),
        ("DEFAULT_GPUS", "1.5"),
        ("SCRATCH_SIZE", "20GB"),
        ("NAMESPACES", "a,*"),
        ("LEASE", "embedtune"),
        ("LEASE", "a/b/c"),
        ("METRICS_PORT", "70000"),
        ("SCRAPE_INTERVAL_S", "0"),
        ("SCRAPE_INTERVAL_S", "nan"),
        ("WATCH_TIMEOUT_S", "1"),
        ("RESYNC_INTERVAL_S", "0"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_wrong_values_are_named(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"EMBEDTUNE_{name} is '") as error:
        Settings.from_env(LEAST | {f"EMBEDTUNE_{name}": value})
    assert value in str(error.value)

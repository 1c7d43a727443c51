"""The Debian mirror is found in the host's own apt sources, in either format."""

import pytest

from launcher.apt import Source, debian_sources
from launcher.errors import LauncherError
from tests.launcher.host import Host

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture
def sources(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without any source, whose apt-config is on this process's PATH."""
    monkeypatch.setenv("PATH", str(host.bin))
    (host.control / "etc/sources.list.d/debian.sources").unlink()
    return host


def write(host: Host, name: str, text: str) -> None:
    (host.control / "etc" / name).write_text(text)


def test_deb822_source_keeps_mirror_and_key_file(sources: Host) -> None:
    write(
        sources,
        "sources.list.d/debian.sources",
        "# a comment\nTypes: deb deb-src\nURIs: http://a.invalid/debian\n# another\n"
        f"Suites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By: {KEYS}\n",
    )
    assert debian_sources() == [Source("http://a.invalid/debian", KEYS, True)]


def test_deb822_key_block_is_kept_whole(sources: Host) -> None:
    block = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n -----END PGP PUBLIC KEY BLOCK-----"
    write(
        sources,
        "sources.list.d/mine.sources",
        f"Types: deb\nURIs: http://a.invalid/debian\nSuites: trixie\nComponents: main\nSigned-By:{block}\n",
    )
    assert [source.signed_by for source in debian_sources()] == [block]


def test_one_line_source_with_options(sources: Host) -> None:
    write(
        sources,
        "sources.list",
        f"deb [arch=amd64 signed-by={KEYS}] http://a.invalid/debian bookworm main # ours\n",
    )
    assert debian_sources() == [Source("http://a.invalid/debian", KEYS, True)]


def test_unsafe_option_of_a_source_is_not_taken_over(sources: Host) -> None:
    write(sources, "sources.list", "deb [trusted=yes] http://a.invalid/debian bookworm main\n")
    (source,) = debian_sources()
    assert "trusted" not in repr(source)


def test_source_with_debians_keys_comes_first(sources: Host) -> None:
    write(
        sources,
        "sources.list",
        "deb [signed-by=/keys/other.gpg] http://other.invalid/apt nodistro main\n"
        f"deb [signed-by={KEYS}] http://a.invalid/debian bookworm main\n",
    )
    assert [source.uri for source in debian_sources()] == [
        "http://a.invalid/debian",
        "http://other.invalid/apt",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "# deb http://a.invalid/debian bookworm main",
        "deb-src http://a.invalid/debian bookworm main",
        "deb http://a.invalid/debian bookworm contrib",
        "deb http://a.invalid/debian-security bookworm-security main",
        "deb cdrom:[Debian]/ bookworm main",
        "deb http://a.invalid/flat ./",
    ],
)
def test_source_without_the_main_archive_is_no_mirror(sources: Host, line: str) -> None:
    write(sources, "sources.list", line + "\n")
    with pytest.raises(LauncherError, match="none of this host's apt sources"):
        debian_sources()


def test_disabled_deb822_source_is_no_mirror(sources: Host) -> None:
    write(
        sources,
        "sources.list.d/debian.sources",
        "Enabled: no\nTypes: deb\nURIs: http://a.invalid/debian\nSuites: sid\nComponents: main\n",
    )
    with pytest.raises(LauncherError, match="none of this host's apt sources"):
        debian_sources()

"""The files in deploy/, and the configurations that the documents show: they name what is there, and are read as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import commands
from pipeline.settings import load_settings
from pipeline.tickets import open_system

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
KUBERNETES = [one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")) if one]
UNIT = (DEPLOY / "problem-snapshot.service").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
EXAMPLE = (DEPLOY / "problem-snapshot.toml.example").read_text(encoding="utf-8")
FILE = re.compile(r"\$\{file:([^}]+)\}")
PAGES = sorted((ROOT / "docs" / "tickets").glob("*.md"))


def of_kind(kind: str) -> dict[str, Any]:
    """The objects of a kind in kubernetes.yaml, by name."""
    return {one["metadata"]["name"]: one for one in KUBERNETES if one["kind"] == kind}


def pods() -> dict[str, Any]:
    """What the deployments' pods are, by name."""
    return {name: one["spec"]["template"] for name, one in of_kind("Deployment").items()}


def config_map() -> str:
    return of_kind("ConfigMap")["problem-snapshot"]["data"]["problem-snapshot.toml"]


def started() -> dict[str, list[str]]:
    """The arguments that each file starts this program with."""
    found = {f"compose.yaml: {name}": one["command"] for name, one in COMPOSE["services"].items() if "command" in one}
    for name, pod in pods().items():
        found[f"kubernetes.yaml: {name}"] = pod["spec"]["containers"][0]["args"]
    found["Dockerfile"] = shlex.split(re.search(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)[1].replace(",", " "))
    [start] = re.findall(r"^ExecStart=\S+/problem-snapshot (.*)$", UNIT, re.MULTILINE)
    found["problem-snapshot.service"] = shlex.split(start)
    return found


def settings_of(text: str, folder: Path) -> Any:
    """The settings of a configuration, with a stand-in for each secret that it reads from a file or the environment."""
    secret = folder / "secret"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", encoding="utf-8")
    config = folder / "problem-snapshot.toml"
    config.write_text(FILE.sub(lambda _: f"${{file:{secret}}}", text), encoding="utf-8")
    env = dict.fromkeys(re.findall(r"\$\{([A-Z][A-Z_0-9]*)\}", text), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    return load_settings(config, env=env, service=True, notify=True)


@pytest.mark.parametrize("place", started())
def test_each_file_starts_a_command_that_is_there_with_options_that_it_has(place):
    name, *options = started()[place]
    assert commands.commands[name].make_context(name, options).params


def test_the_image_and_its_users_agree_on_command_user_port_and_configuration():
    assert 'ENTRYPOINT ["problem-snapshot"]' in DOCKERFILE
    user = re.search(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[1]
    port = int(re.search(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)[1])
    config = re.search(r"PROBLEM_SNAPSHOT_CONFIG=(\S+)", DOCKERFILE)[1]
    assert f"--uid {user} " in DOCKERFILE
    assert any(volume.split(":")[1] == config for volume in COMPOSE["services"]["receiver"]["volumes"])
    for pod in pods().values():
        assert str(pod["spec"]["securityContext"]["runAsUser"]) == user
        # A volume that is new belongs to root otherwise.
        assert str(pod["spec"]["securityContext"]["fsGroup"]) == user
        [container] = pod["spec"]["containers"]
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        assert str(Path(config).parent) in mounts
        assert set(mounts.values()) == {volume["name"] for volume in pod["spec"]["volumes"]}
    [listening] = pods()["receiver"]["spec"]["containers"][0]["ports"]
    assert listening["containerPort"] == port
    assert COMPOSE["services"]["receiver"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"http://127.0.0.1:{port}/healthz" in DOCKERFILE


def test_what_the_image_copies_is_enough_to_build_the_whole_wheel(tmp_path):
    """The lines of COPY, followed by hand: hatchling finds each file that pyproject.toml names, and each package is in the wheel."""
    source = tmp_path / "src"
    source.mkdir()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        *given, target = line.split()
        for one in given:
            if (ROOT / one).is_dir():
                hidden = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / one, source / target, ignore=hidden)
            else:
                shutil.copy(ROOT / one, source / target)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=source,
        check=True,
        capture_output=True,
    )
    [wheel] = (tmp_path / "dist").glob("*.whl")
    there = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "cli.py", "parsers", "pipeline", "snapshots"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert set(tracked.stdout.split()) - there == set()
    assert any(name.startswith("pipeline/examples/") for name in there)


def test_the_example_configurations_are_read_and_name_secrets_that_are_mounted(tmp_path):
    for text, mounted in (
        (EXAMPLE, {f"/run/secrets/{name}" for name in COMPOSE["secrets"]}),
        (
            config_map(),
            {f"/run/secrets/snapshot/{name}" for name in of_kind("Secret")["problem-snapshot"]["stringData"]},
        ),
    ):
        assert set(FILE.findall(text)) == mounted
        settings = settings_of(text, tmp_path)
        assert (set(settings.tickets), set(settings.sources)) == ({"helpdesk"}, {"logs"})
        assert settings.service.database_url.startswith("postgresql+psycopg://")
        assert settings.store.startswith("/var/lib/problem-snapshot/")
    for service in ("receiver", "worker"):
        assert set(COMPOSE["services"][service]["secrets"]) == set(COMPOSE["secrets"])


def test_what_kubernetes_objects_refer_to_is_in_the_file():
    for name, pod in pods().items():
        assert of_kind("Deployment")[name]["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
        for volume in pod["spec"]["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in of_kind("ConfigMap")
            if "secret" in volume:
                assert volume["secret"]["secretName"] in of_kind("Secret")
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in of_kind("PersistentVolumeClaim")
    service = of_kind("Service")["receiver"]["spec"]
    assert service["selector"] == pods()["receiver"]["metadata"]["labels"]
    assert {one["targetPort"] for one in service["ports"]} == {"http"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path):
    unit = tmp_path / "problem-snapshot.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", UNIT, flags=re.MULTILINE), "utf-8")
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in checked.stderr.splitlines() if "problem-snapshot" in line] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_configuration_of_each_ticket_systems_page_can_be_pasted(page, tmp_path):
    """Below a whole configuration's names, so that nothing has to be guessed."""
    blocks = re.findall(r"^( *)```toml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    texts = [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in blocks]
    [text] = [one for one in texts if "defaults" in tomllib.loads(one)]
    settings = settings_of(text, tmp_path)
    [(name, options)] = settings.tickets.items()
    system = open_system(name, options)
    assert (system.kind, f"/hooks/{name}" in page.read_text(encoding="utf-8")) == (page.stem, True)
    system.close()

"""A Dask cluster of several hosts, each with an address of its own, that speaks TLS; a tracking server with users."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.hosts import Network, network
from tests.support.project import Result, environment, finished, mlflow_run
from tests.support.team import Secrets, server_environment

PORT, SERVER_PORT = 8786, 5000
START_SECONDS = 120
RUN_SECONDS = 600  # until a run has come to its trials, on a machine that is busy
EXPERIMENT = "trips"
USER = "ada"


@dataclass
class HostsCluster:
    """`scheduler`, workers and `client` are hosts of `network`; logs, certificates and scratch lie in `folder`."""

    network: Network
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)  # of every process: where the certificates are, who it is
    secrets: Secrets = field(default_factory=Secrets)

    @property
    def engine(self) -> str:
        return f"dask:tls://{self.network.hosts['scheduler'].address}:{PORT}"

    @property
    def address(self) -> str:
        return self.engine.removeprefix("dask:")

    @property
    def server(self) -> str:
        return f"http://{self.network.hosts['server'].address}:{SERVER_PORT}"

    def log(self, host: str) -> Path:
        return self.folder / f"{host}.log"

    def start_scheduler(self) -> None:
        host = self.network.hosts["scheduler"]
        self._dask("scheduler", "scheduler", "--protocol", "tls", "--host", host.address, "--port", PORT)
        self._said("scheduler", "Scheduler at:")

    def start_worker(self, name: str, **variables: str) -> None:
        host, scratch = self.network.hosts[name], self.folder / f"scratch-{name}"
        words = [self.address, "--host", host.address, "--nthreads", 1, "--local-directory", scratch]
        before = self.log(name).read_text().count("Registered to:") if self.log(name).exists() else 0
        self._dask(name, "worker", *words, **variables)
        self._said(name, "Registered to:", before + 1)

    def start_server(self, programs: Path) -> None:
        """`mlflow server` that passes artifacts on, and lets nobody in without a password."""
        host, folder = self.network.hosts["server"], self.folder / "server"
        folder.mkdir()
        (folder / "auth.ini").write_text(
            f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/users.db\n"
            "admin_username = admin\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n"
        )
        variables = environment({
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_AUTH_ADMIN_PASSWORD": self.secrets["admin"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.secrets["session"], "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        })  # fmt: skip
        command = [programs / "mlflow", "server", "--app-name", "basic-auth", "--host", host.address,
                   "--port", SERVER_PORT, "--workers", 1, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                   "--artifacts-destination", folder / "artifacts"]  # fmt: skip
        host.start(*command, log=self.log("server"), cwd=folder, env=variables)
        add = (
            "import requests, sys, time\n"
            "def ask(): return requests.post(sys.argv[1] + '/api/2.0/mlflow/users/create', timeout=60,\n"
            "    json={'username': sys.argv[2], 'password': sys.argv[3]}, auth=('admin', sys.argv[4]))\n"
            "for _ in range(1200):\n"
            "    try: answer = ask(); break\n"
            "    except requests.ConnectionError: time.sleep(0.5)\n"
            "assert answer.ok, answer.text\n"
        )
        done = self.on(
            "client", sys.executable, "-c", add, self.server, USER, self.secrets[USER], self.secrets["admin"]
        )
        assert done.returncode == 0, done.stderr + self.log("server").read_text()[-3000:]
        self.variables |= {
            "MLFLOW_TRACKING_URI": self.server,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": self.secrets[USER],
        }

    def on(self, host: str, *words: object, **variables: str) -> subprocess.CompletedProcess:
        """A command that ends, on a host."""
        return subprocess.run(self.network.hosts[host].command(*words), env=environment(self.variables | variables),
                              cwd=self.folder, capture_output=True, text=True, timeout=1200, check=False)  # fmt: skip

    def mlflow_run(self, entry_point: str, **params: object) -> Result:
        """`mlflow run -e ENTRY_POINT -P name=value ...` on the client's host."""
        words = self._mlflow_run(entry_point, params)
        return finished(self.network.hosts["client"].command(*words), self.folder, environment(self.variables))

    def start_mlflow_run(self, entry_point: str, **params: object) -> subprocess.Popen:
        """The same, not waited for; `log("client")` has what it says."""
        self.log("client").unlink(missing_ok=True)
        words = self._mlflow_run(entry_point, params)
        client, env = self.network.hosts["client"], environment(self.variables)
        return client.start(*words, log=self.log("client"), cwd=self.folder, env=env)

    def _mlflow_run(self, entry_point: str, params: Mapping[str, object]) -> list[str]:
        return mlflow_run(entry_point, experiment=EXPERIMENT, engine=self.engine, **params)

    def wait_for_trial_on(self, worker: str) -> None:
        """Until a worker of that name runs a trial."""
        from distributed import Client

        begin, deadline = f"tls://{self.network.hosts[worker].address}:", time.monotonic() + RUN_SECONDS
        with (
            settings_in_force(self.variables),
            self.network.hosts["client"].inside(),
            Client(self.address, set_as_default=False) as dask,
        ):
            while not any(
                address.startswith(begin) and any(str(key).startswith("trial-") for key in keys)
                for address, keys in dask.processing().items()
            ):
                assert time.monotonic() < deadline, self.log("client").read_text()[-3000:]
                time.sleep(0.02)

    def _dask(self, host: str, command: str, *words: object, **variables: str) -> None:
        env = {name: value for name, value in environment(self.variables).items() if name != "PYTHONPATH"}
        env |= {"OMP_NUM_THREADS": "1", **variables}
        words = (sys.executable, "-m", "dask", command, *words, "--no-dashboard")
        self.network.hosts[host].start(*words, log=self.log(host), cwd=self.folder, env=env)

    def _said(self, host: str, words: str, times: int = 1) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.log(host).read_text().count(words) < times:
            assert time.monotonic() < deadline, self.log(host).read_text()[-3000:]
            time.sleep(0.1)


@contextmanager
def hosts_cluster(folder: Path, workers: int, delay: float, server: bool = False) -> Iterator[HostsCluster]:
    """A scheduler, so many workers ``worker1`` ..., a client and a server, `delay` seconds from one to another."""
    names = [f"worker{number + 1}" for number in range(workers)]
    programs = server_environment(folder / "environment") if server else None
    with network("scheduler", *names, "client", "server", delay=delay) as between:
        cluster = HostsCluster(between, folder, certificates(folder))
        if programs:
            cluster.start_server(programs)
        cluster.start_scheduler()
        for name in names:
            cluster.start_worker(name)
        yield cluster


def certificates(folder: Path) -> dict[str, str]:
    """One certificate and its key in files, and Dask's settings that name them, as docs/scale.md does."""
    from distributed.security import Security

    made = Security.temporary()
    for name, content in (("certificate.pem", made.tls_client_cert), ("key.pem", made.tls_client_key)):
        (folder / name).write_text(content)
    settings = {"CA_FILE": "certificate.pem"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{role}__CERT": "certificate.pem", f"{role}__KEY": "key.pem"}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(folder / file) for name, file in settings.items()}


@contextmanager
def settings_in_force(variables: Mapping[str, str]) -> Iterator[None]:
    """Dask's settings of the environment `variables`, in this process."""
    import dask
    import distributed  # noqa: F401 - which brings settings of its own

    with dask.config.set(dask.config.merge(dask.config.config, dask.config.collect_env(dict(variables)))):
        yield

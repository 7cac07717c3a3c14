"""Runs `runner` and its peers: whatever is started is waited for, and what fails says why."""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Failed(Exception):
    """A program that did not do its work; the message is for people."""


@contextmanager
def _started(command, folder, **options):
    """Gives a running program and a way to say how it failed; it has ended when this is left."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True, **options
        )

        def failed(message=None):
            code = process.wait()
            errors.seek(0)
            lines = [line.strip() for line in errors if line.strip()]
            return Failed(f"exit code {code}: {message or (lines or ['no message'])[-1]}")

        try:
            yield process, failed
        except BaseException:
            process.kill()
            raise
        finally:
            if process.stdin:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            process.stdout.close()
            process.wait()


def python(program, *arguments):
    """Gives the command of one of the programs beside this file."""
    return [sys.executable, str(HERE / program), *map(str, arguments)]


def run(command, folder):
    """Runs a program to its end; gives what it printed and the seconds in all."""
    begun = time.perf_counter()
    with _started(command, folder) as (process, failed):
        printed = process.stdout.read()
        if process.wait():
            raise failed()
        return printed, time.perf_counter() - begun


class Runner:
    """The binary, in a folder with a store of its own."""

    def __init__(self, binary, folder):
        self.binary, self.folder = str(binary), Path(folder)
        # Makes it the root, whatever lies above it.
        (self.folder / ".runner").mkdir()

    def run(self, pipeline, values, stages=(), jobs=2):
        """Runs stages to their end; gives each event with its time, and the seconds in all."""
        command = [self.binary, "run", str(pipeline), *stages, f"--jobs={jobs}", "--format=json"]
        command += [f"--set={name}={value}" for name, value in values.items()]
        begun = time.perf_counter()
        with _started(command, self.folder) as (process, failed):
            events = [(time.perf_counter(), json.loads(line)) for line in process.stdout]
            if process.wait():
                failures = [event["failure"] for _, event in events if event.get("failure")]
                raise failed(failures[0]["message"] if failures else None)
            return events, time.perf_counter() - begun

    def artifact(self, path):
        """Gives the path of an artifact."""
        return self.folder / "artifacts" / path


@contextmanager
def worker(command, folder):
    """Gives a function that asks a running program for one more figure; it ends with its input."""
    with _started(command, folder, stdin=subprocess.PIPE) as (process, failed):

        def ask():
            try:
                process.stdin.write("\n")
                process.stdin.flush()
            except BrokenPipeError:
                raise failed() from None
            line = process.stdout.readline()
            if not line:
                raise failed()
            return float(line)

        yield ask

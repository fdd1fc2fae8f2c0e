"""`nutshell demo`: the main job, shown step by step through the public APIs, each step timed and proved."""

from nutshell.cli.demo.run import run_demo

__all__ = ["run_demo"]

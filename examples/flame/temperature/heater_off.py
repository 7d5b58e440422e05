"""Switches the heater off. Also a program of its own, which runs when the flame node `cell` did not end in order."""

from pathlib import Path


def switch_off() -> None:
    Path("heater.txt").write_text("off\n")  # here a real heater would hear it


if __name__ == "__main__":
    switch_off()

"""A stand-in for a file system that carries no locks: a library that refuses them below one folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refused(int file) {
  char name[64], path[4096];
  const char *folder = getenv("NOLOCKS_FOLDER"), *number = getenv("NOLOCKS_ERRNO");
  snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  ssize_t size = readlink(name, path, sizeof path - 1);
  if (size < 0 || !folder) return 0;
  path[size] = 0;
  if (strncmp(path, folder, strlen(folder))) return 0;
  errno = number ? atoi(number) : ENOLCK;
  return 1;
}

int flock(int file, int operation) {
  int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
  return refused(file) ? -1 : real(file, operation);
}

static int is_lock(int command) {
  return command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK
      || command == F_OFD_SETLKW || command == F_OFD_GETLK;
}

int fcntl64(int file, int command, ...) {
  int (*real)(int, int, ...) = dlsym(RTLD_NEXT, "fcntl64");
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  return is_lock(command) && refused(file) ? -1 : real(file, command, argument);
}

int fcntl(int file, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  return fcntl64(file, command, argument);
}
"""


def without_locks(build: Path, folder: Path, number: int) -> dict[str, str]:
    """Return the environment of a process that finds no locks below a folder, and is told so by an error number."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    (build / "nolocks.c").write_text(SOURCE)
    library = build / "nolocks.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, build / "nolocks.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "NOLOCKS_FOLDER": str(folder), "NOLOCKS_ERRNO": str(number)}

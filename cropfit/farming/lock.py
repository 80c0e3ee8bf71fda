"""TEMPORARY stand-in, never committed."""

import contextlib, os, time


@contextlib.contextmanager
def locked(path, patience=600.0):
    lock = path + ".lock"
    end = time.time() + patience
    while True:
        try:
            os.mkdir(lock)
            break
        except FileExistsError:
            try:
                pid = int(os.listdir(lock)[0])
                os.kill(pid, 0)
            except (IndexError, ValueError, FileNotFoundError):
                pass
            except ProcessLookupError:
                aside = f"{lock}.{os.getpid()}"
                with contextlib.suppress(OSError):
                    os.rename(lock, aside)
                    os.rmdir(f"{aside}/{pid}")
                    os.rmdir(aside)
            if time.time() > end:
                raise TimeoutError(lock)
            time.sleep(0.01)
    os.mkdir(f"{lock}/{os.getpid()}")
    try:
        yield
    finally:
        os.rmdir(f"{lock}/{os.getpid()}")
        os.rmdir(lock)

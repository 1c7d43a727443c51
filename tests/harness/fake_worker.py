"""The worker with the runs of `misbehaviour.py` in place of a cell's checks; everything else is the real thing."""

import os
import sys


def main() -> int:
    sys.path[:0] = os.environ["FAKE_WORKER_PATH"].split(os.pathsep)
    from harness import worker
    from harness.supervise import Setting
    from tests.harness import misbehaviour

    return worker.main(sys.argv, Setting(misbehaviour.run, misbehaviour.core, leftover_seconds=0.5))


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)

"""Make published reports again from what they saved: ``python -m precisionlab.reporting reports``."""

import sys

from precisionlab.reporting import rebuild_all

for made in rebuild_all(sys.argv[1] if len(sys.argv) > 1 else "reports"):
    print(made.page)

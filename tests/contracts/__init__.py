"""What every pool, sampler, scheduler and file system must satisfy: classes that tests inherit."""

import pytest

pytest.register_assert_rewrite("contracts.ledger")

import pytest
import torch
from hypothesis import settings

# the first example of a test pays for torch's warm-up, so time says nothing
settings.register_profile("training", deadline=None, max_examples=25)
settings.load_profile("training")


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small lose time to every thread but one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

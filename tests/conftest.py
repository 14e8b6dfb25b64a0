from hypothesis import settings

# the first example of a test pays for torch's warm-up, so time says nothing
settings.register_profile("fuzz", deadline=None, max_examples=25)
# one commit, one verdict: `make test` draws the same examples each time, `make fuzz` new ones
settings.register_profile("throughtime", settings.get_profile("fuzz"), derandomize=True)
settings.load_profile("throughtime")

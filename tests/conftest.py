from hypothesis import settings

# the first example of a test pays for torch's warm-up, so time says nothing
settings.register_profile("throughtime", deadline=None, max_examples=25)
settings.load_profile("throughtime")

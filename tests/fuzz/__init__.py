"""Coverage-guided fuzzing of the parsers, each from the messages of the corpus.

    python -m tests.fuzz                     all parsers, ten minutes each
    python -m tests.fuzz dns --seconds 60    one of them
    python -m tests.fuzz --blind             by chance, where there is no atheris for this Python

Needs the `fuzz` extra, which `make test-setup` installs; tests/unit/test_fuzz.py runs each target
for a second. A parser's target is a file `target_NAME.py` here: `seeds()` gives messages to begin
with, and `one_input(data)` raises what the parser must not. What was found worth keeping stays in
.cache/fuzz/NAME for the next run, and an input that fails is left beside it.
"""

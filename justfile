# The recipes; `just --list` names them.

# What CI does.
check:
    bash .ci/run

# The tests, as in the README.
test:
    cargo test --workspace

# Format and lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Speed, side by side with TensorFlow, PyTorch and burn: prints a table, writes target/bench.json.
bench *ARGS:
    python3 benches/run.py {{ARGS}}

# Remake goldens/ with real TensorFlow from PyPI; MNIST is the folder of the four gzipped IDX files.
goldens MNIST:
    python3 -m venv target/goldens-venv
    target/goldens-venv/bin/pip install --quiet -r goldens/requirements.txt
    target/goldens-venv/bin/python goldens/make.py --seed 2 --out goldens --mnist {{MNIST}}

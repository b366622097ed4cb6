# The recipes; `just --list` names them.

# What CI does.
check:
    bash .ci/run

# The tests, as in the README.
test:
    cargo test --workspace

# `digits` as one file that needs nothing of the system, not even its C library, where that can be linked
# statically (Linux).
static:
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release -p digits --target "$(rustc --print host-tuple)"

# Format and lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Speed, side by side with TensorFlow, PyTorch, LiteRT, burn and crates for matrix products: prints a table,
# writes target/bench.json.
bench *ARGS:
    python3 benches/run.py {{ARGS}}

# Load on `digits serve`, beside FastAPI with TensorFlow and LiteRT; `just bench` makes the environment.
bench-serve *ARGS:
    target/bench-venv/bin/python benches/serve.py {{ARGS}}

# Remake goldens/ with real TensorFlow from PyPI; MNIST is the folder of the four gzipped IDX files.
goldens MNIST:
    python3 -m venv target/goldens-venv
    target/goldens-venv/bin/pip install --quiet -r goldens/requirements.txt
    target/goldens-venv/bin/python goldens/make.py --seed 2 --out goldens --mnist {{MNIST}}

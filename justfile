# Every chore by name. `just ci` is what CI runs.

default:
    @just --list

# Format the code.
fmt:
    cargo fmt

# What CI checks of the code's form.
lint:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings

# The tests that need nothing but Rust.
test:
    cargo test --workspace

# The whole house in a storm, seed after seed. A seed that fails says how to repeat it.
simulate SEEDS="10000":
    SEEDS={{SEEDS}} cargo test --release -p protocol-tests --test simulation

# Hostile bytes to everything that reads bytes, under a memory limit: so many cases a target.
fuzz CASES="1000000":
    CASES={{CASES}} cargo test --release -p protocol-tests --test hostile

# Everything CI does, with real servers.
ci:
    .ci/run

# The alert rules, and what each wakes somebody for, with Prometheus's promtool.
rules:
    promtool check rules grafana/alerts/lag.yaml
    promtool test rules grafana/alerts/cases/lag.yaml

# No C anywhere in what is built.
no-c:
    protocol-tests/gates/no-c.sh

# One static file: glibc inside, no interpreter, runs in an empty directory.
static:
    protocol-tests/gates/static.sh

# What is shipped: smaller, slower to build.
dist:
    RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"' cargo build --profile dist --target x86_64-unknown-linux-gnu

# The same for musl, where its standard library can be had (`rustup target add x86_64-unknown-linux-musl`).
musl:
    cargo build --profile dist --target x86_64-unknown-linux-musl

# Run everything on loopback.
up *ARGS:
    cargo run --release -- up {{ARGS}}

# Other people's clients against a broker: the same assertions for ours and for Apache Kafka.
foreign BOOTSTRAP *SUITES:
    protocol-tests/foreign/run.sh {{BOOTSTRAP}} {{SUITES}}

# The whole flow against Redpanda in a container; set E2E_BOOTSTRAP to use one that already runs.
e2e:
    protocol-tests/e2e.sh

# A real Kafka on loopback, from its Maven jars: `just kafka up DIR [VERSION] [NODES]`, `just kafka down DIR`.
kafka *ARGS:
    protocol-tests/servers/kafka.sh {{ARGS}}

# Benchmarks; they time, and therefore are no tests. BOOTSTRAP names the cluster for `produce`, `consume`, `lag`, `latency` and `idle`.
bench *NAMES:
    cargo bench -p protocol-tests {{ prepend("--bench ", NAMES) }}

# The book of the house.
docs:
    cargo doc --no-deps --open

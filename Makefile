# make run    set up, build, and chat with the default model; PROMPT="…" asks it once instead
# make test   set up, build, and run all tests
# The presets of CMakePresets.json (release, dev, asan, tsan) do the work underneath.

MODEL ?= build/models/default
PROMPT ?=
# As it was typed: make would expand its dollars.
export HADAL_PROMPT = $(value PROMPT)

.PHONY: run test test-asan test-tsan build setup clean

run: build $(MODEL)
	@build/release/hadal run --model "$(MODEL)" $(if $(value PROMPT),-- "$$HADAL_PROMPT")

test: setup
	@scripts/build.sh release
	@ctest --preset release -j 2

test-asan test-tsan: test-%: setup
	@scripts/build.sh $*
	@ctest --preset $* -j 2

build: setup
	@scripts/build.sh release hadal

setup:
	@scripts/setup.sh

# Until a trained model ships, the default is one of random weights.
build/models/default: | build
	@mkdir -p $(dir $@)
	@build/release/hadal synth --shape v3-tiny --weights bf16 --seed 1 --out $@

clean:
	@rm -rf build

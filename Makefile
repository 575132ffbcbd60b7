# make run    set up, build, and chat with the default model; PROMPT="…" asks it once instead
# make test   set up, build, and run all tests
# The presets of CMakePresets.json (release, dev, asan, tsan) do the work underneath.

MODEL ?= build/models/default
PROMPT ?=

.PHONY: run test test-asan test-tsan build setup clean

run: build $(MODEL)
	@build/release/hadal run --model "$(MODEL)" $(if $(PROMPT),"$$HADAL_PROMPT")
export HADAL_PROMPT = $(PROMPT)

test: build
	@ctest --preset release -j 2

test-asan: setup
	@scripts/build.sh asan
	@ctest --preset asan -j 2 -LE end_to_end

test-tsan: setup
	@scripts/build.sh tsan
	@ctest --preset tsan -j 2 -LE end_to_end

build: setup
	@scripts/build.sh release

setup:
	@scripts/setup.sh

# Until a trained model ships, the default is one of random weights.
build/models/default: | build
	@mkdir -p $(dir $@)
	@build/release/hadal synth --shape v3-tiny --weights bf16 --seed 1 --out $@

clean:
	@rm -rf build

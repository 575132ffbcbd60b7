# make run    set up, build, start the service, and chat with it over HTTPS; PROMPT="…" asks it once instead,
#             MODEL=DIR serves another model than the default
# make test   set up, build, and run all tests
# The presets of CMakePresets.json (release, dev, asan, tsan) do the work underneath.

MODEL ?= models/default/model
PROMPT ?=
# As it was typed: make would expand its dollars.
export HADAL_PROMPT = $(value PROMPT)

.PHONY: run test test-asan test-tsan build setup clean

run: build
	@scripts/run.sh build/release/hadal "$(MODEL)" build/state

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

clean:
	@rm -rf build

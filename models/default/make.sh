#!/bin/sh
# make.sh [WORK]: makes the default model anew, from nothing but this repository, and puts it into models/default/model;
# suite.jsonl beside it. WORK (build/default-model) holds what lies between. Every step but the training is quick;
# interrupted, the next run goes on where this one was. The same machine kind makes the same bytes, whatever its threads.
set -eu
cd "$(dirname "$0")/../.."
here=models/default
work=${1:-build/default-model}
hadal=build/release/hadal

# What decides the result.
seed=1
chats=120000
cases=200
vocabulary=1280
steps=3400

scripts/setup.sh
scripts/build.sh release hadal default_model_data
mkdir -p "$work"

build/release/default_model_data $seed $chats $cases "$work/data"

# Numbers are read digit by digit, which is how sums are done.
"$hadal" train tokenizer "$work/data/train.jsonl" --vocab-size $vocabulary --digits 1 \
    --chat-template $here/base/chat_template.jinja --out "$work/tokenizer"
mkdir -p "$work/base" "$work/shards"
cp "$work/tokenizer/tokenizer.json" "$work/tokenizer/tokenizer_config.json" $here/base/config.json \
    $here/base/generation_config.json "$work/base/"

"$hadal" train prepare "$work/data/train.jsonl" --tokenizer "$work/base" --out "$work/shards/train"
"$hadal" train prepare "$work/data/held-out.jsonl" --tokenizer "$work/base" --out "$work/shards/held-out"

resume=
[ ! -d "$work/run/checkpoints" ] || resume=--resume
"$hadal" train --model "$work/base" --fresh $resume --data "$work/shards/train" --held-out "$work/shards/held-out" \
    --out "$work/run" --steps $steps --sequence-length 256 --micro-batch-size 8 --learning-rate 2e-3 \
    --final-share 0.02 --warmup-steps 100 --precision bf16 --seed $seed --export-weights bf16

rm -rf $here/model
cp -R "$work/run/model" $here/model
cp "$work/data/suite.jsonl" $here/suite.jsonl

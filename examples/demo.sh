#!/usr/bin/env bash
# What `make demo` shows: captions, a question about a picture, and a sum, by the models in the package.
# Arguments go to every command, for example --precision int8.
set -euo pipefail
cd "$(dirname "$0")/.."
triptych="${BIN:+$BIN/}triptych"

show() {
    local line='$ triptych' word
    for word in "$@"; do
        [[ $word == *' '* ]] && word="\"$word\""
        line+=" $word"
    done
    printf '\n%s\n' "$line"
    "$triptych" "$@"
}

show caption examples "$@"
show chat --image examples/two-shapes.png --message "What is to the left of the star?" "$@"
show chat --model triptych/tiny-mixtral --message "What is 17 + 25?" "$@"
printf '\n%s\n' "These are small demonstration models. README.md says how to use a real checkpoint: one option away."

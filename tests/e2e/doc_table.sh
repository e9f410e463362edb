#!/bin/bash
# docs/protocol-tests.md names every test of the named protocol cases, each in the file where it is.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
e2e_begin
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1

page=docs/protocol-tests.md
# "FILE TEST" a line: what the page says, and what there is in the files it speaks of and in all test_case_*.c.
# Tests named outside the section of a file are named a second time: "- TEST", and may be anywhere.
awk '/^## / { file = "-" }
     /^### / { file = $2 }
     /^\|/ { while (match($0, /`test_[a-z0-9_]+`/)) {
                 print file, substr($0, RSTART + 1, RLENGTH - 2)
                 $0 = substr($0, RSTART + RLENGTH) } }' "$page" | sort >"$E2E_DIR/all"
grep -v '^- ' "$E2E_DIR/all" >"$E2E_DIR/said"
sed -n 's/^- //p' "$E2E_DIR/all" | sort -u >"$E2E_DIR/again"
tests_of() { # FILE...
    local f
    for f in "$@"; do
        sed -n "s|.*[A-Z_a-z]*(\(test_[a-z0-9_]*\)[,)].*|${f#tests/unit/} \1|p" "$f"
    done | sort -u
}
mapfile -t files < <(cut -d' ' -f1 "$E2E_DIR/said" | sort -u | sed 's|^|tests/unit/|')
there=()
for f in "${files[@]}"; do
    if [ -f "$f" ]; then there+=("$f"); else fail "the page's file $f exists"; fi
done
tests_of "${there[@]}" >"$E2E_DIR/there"
tests_of tests/unit/*/test_case_*.c >"$E2E_DIR/cases"

same "the page names tests" yes "$([ -s "$E2E_DIR/said" ] && echo yes)"
same "there are cases to be named" yes "$([ -s "$E2E_DIR/cases" ] && echo yes)"
same "no test is named twice" '' "$(uniq -d "$E2E_DIR/said")"
same "every test the page names is run by its file" '' "$(comm -23 "$E2E_DIR/said" "$E2E_DIR/there")"
same "every test that is named again is on the page" '' "$(cut -d' ' -f2 "$E2E_DIR/said" | sort -u | comm -23 "$E2E_DIR/again" -)"
same "every named case is on the page" '' "$(comm -13 "$E2E_DIR/said" "$E2E_DIR/cases")"
e2e_end

#!/bin/bash
# clang-tidy and cppcheck over all sources, shellcheck over the scripts. CFLAGS: how sources are compiled.
# Fails on any finding; .clang-tidy says which checks are on.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
mapfile -t c < <(git ls-files '*.c' | grep -v '^tests/')
read -ra flags <<<"$CFLAGS"
clean=()
for f in "${flags[@]}"; do case $f in -MMD | -MP | -O* | -g) ;; *) clean+=("$f") ;; esac; done
printf '%s\n' "${c[@]}" | xargs -P "$(nproc)" -n 8 sh -c '
    flags=$1; shift; exec clang-tidy --quiet "$@" -- $flags 2>/dev/null' sh "${clean[*]}" || bad=1
cppcheck --quiet --std=c17 --language=c --inline-suppr --error-exitcode=1 -j "$(nproc)" -D_GNU_SOURCE -I. -Iinclude \
    --include=tests/cppcheck.h \
    --enable=warning,portability --suppress=missingIncludeSystem --suppress='*:/usr/include/*' "${c[@]}" || bad=1
mapfile -t sh < <(git ls-files '*.sh' .ci/run)
shellcheck -x -S warning "${sh[@]}" || bad=1
[ $bad = 0 ] && echo "lint: nothing found"
exit $bad

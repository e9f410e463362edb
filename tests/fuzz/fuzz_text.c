/*
 * fuzz_text.c - key=value text: the walk, numbers, binary values and the writer
 *
 * Input: how large the outputs are, and the text. What the walk finds can be written and found again.
 */
#include "iscsi/keys.h"
#include "tests/fuzz/fuzz.h"

#define PAIRS_MAX 64

static void number_try(const char *value)
{
    uint64_t v = 0, again;
    char text[32];

    if (iscsi_text_number(value, &v)) {
        fuzz_check(!v);
        return;
    }
    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    fuzz_check(!iscsi_text_number(text, &again) && again == v);
    snprintf(text, sizeof(text), "0x%llx", (unsigned long long)v);
    fuzz_check(!iscsi_text_number(text, &again) && again == v);
}

/* @max: as large as the buffer is that the bytes go to. */
static void binary_try(const char *value, size_t max)
{
    uint8_t *out = malloc(max ? max : 1), *again;
    char *hex;
    int n;

    fuzz_check(out);
    memset(out, 0xa5, max);
    n = iscsi_text_binary(value, out, max);
    fuzz_check(n < 0 || ((size_t)n <= max && n > 0));
    for (size_t i = n < 0 ? 0 : (size_t)n; i < max; i++)
        fuzz_check(out[i] == 0xa5);
    if (n > 0) {
        hex = malloc(2 * (size_t)n + 3);
        again = malloc((size_t)n);
        fuzz_check(hex && again);
        iscsi_text_hex(out, (size_t)n, hex);
        fuzz_check(iscsi_text_binary(hex, again, (size_t)n) == n);
        fuzz_check(!memcmp(out, again, (size_t)n));
        fuzz_check(iscsi_text_binary(hex, again, (size_t)n - 1) < 0);
        free(again);
        free(hex);
    }
    free(out);
}

/* Writes what was found into a buffer of @room bytes and walks that. */
static void write_try(char *const *keys, char *const *values, unsigned nr, uint32_t room)
{
    char *buf = malloc(room ? room : 1), *key, *value;
    struct iscsi_text t;
    uint32_t pos = 0;
    unsigned i = 0;
    int got;

    fuzz_check(buf);
    iscsi_text_init(&t, buf, room);
    for (unsigned k = 0; k < nr; k++) {
        const uint32_t before = t.len;

        if (k & 1)
            iscsi_text_addf(&t, keys[k], "%s", values[k]);
        else
            iscsi_text_add(&t, keys[k], values[k]);
        fuzz_check(t.len <= room);
        fuzz_check(t.overflow ? t.len == before
                              : t.len == before + strlen(keys[k]) + 1 + strlen(values[k]) + 1);
    }
    while ((got = iscsi_text_next(buf, t.len, &pos, &key, &value)) == 1) {
        fuzz_check(i < nr && !strcmp(key, keys[i]) && !strcmp(value, values[i]));
        i++;
    }
    fuzz_check(got == 0 && (t.overflow ? i < nr : i == nr));
    free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const uint32_t room = (uint32_t)fuzz_u8(&in) * 8;
    char *text = fuzz_copy(in.at, in.left), *keys[PAIRS_MAX], *values[PAIRS_MAX], *key, *value;
    uint32_t pos = 0, last = 0;
    unsigned nr = 0;
    int got;

    while ((got = iscsi_text_next(text, (uint32_t)in.left, &pos, &key, &value)) == 1) {
        fuzz_check(pos > last && pos <= in.left);
        fuzz_check(key >= text && value > key && value + strlen(value) < text + in.left);
        fuzz_check(strlen(key) && strlen(key) <= ISCSI_KEY_LEN_MAX && !strpbrk(key, "= ,\n"));
        last = pos;
        number_try(value);
        binary_try(value, room / 8);
        if (nr < PAIRS_MAX) {
            keys[nr] = key;
            values[nr++] = value;
        }
    }
    fuzz_check(got <= 0 && (got == 0 ? pos >= in.left : pos <= in.left));
    write_try(keys, values, nr, room);
    free(text);
    return 0;
}

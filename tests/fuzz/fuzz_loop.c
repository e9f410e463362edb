/*
 * fuzz_loop.c - the text by which neighbours find out that they are
 *
 * Input: which, and a value as the other end sent it, or a path as the operator configured it. What is taken is spelled
 * as our encoder would, and nothing is written on a refusal.
 */
#include "loopback/offer.h"
#include "reactor/rt.h"
#include "tests/fuzz/fuzz.h"

#define ID "0a1b2c3d-1111-2222-3333-0123456789ab"

static bool untouched(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((const uint8_t *)p)[i] != 0xa5)
            return false;
    return true;
}

static void offer_try(const char *value)
{
    char ours[LOOP_TEXT_MAX];

    fuzz_check(loop_offer_encode_for(ID, ours) && loop_offer_is_for(ID, ours));
    fuzz_check(loop_offer_is_for(ID, value) == !strcmp(value, ours));
}

/* The text as a boot id: only what has the form of one is offered, and then it is known again. */
static void boot_id_try(const char *text)
{
    char value[LOOP_TEXT_MAX];

    memset(value, 0xa5, sizeof(value));
    if (loop_offer_encode_for(text, value))
        fuzz_check(strlen(text) == RT_BOOT_ID_LEN && loop_offer_is_for(text, value) &&
                   !strcmp(value + 2, text));
    else
        fuzz_check(untouched(value, sizeof(value)) && !loop_offer_is_for(text, text));
}

static void invitation_try(const char *value)
{
    struct loop_invitation inv;
    char again[LOOP_TEXT_MAX];
    const char *why;

    memset(&inv, 0xa5, sizeof(inv));
    if ((why = loop_invitation_decode(&inv, value))) {
        fuzz_check(*why && untouched(&inv, sizeof(inv)));
        return;
    }
    fuzz_check(inv.path[0] == '/' && strlen(inv.path) <= LOOP_PATH_LEN_MAX);
    fuzz_check(loop_invitation_encode(&inv, again) && !strcmp(again, value));
}

static void path_try(const char *path)
{
    struct loop_invitation inv = { .token = { 0xff, 0, 0x0a } }, again;
    char value[LOOP_TEXT_MAX];

    memset(value, 0xa5, sizeof(value));
    /* Without a NUL when it is too long: as bad as it gets. */
    memcpy(inv.path, path, strnlen(path, sizeof(inv.path)));
    if (!loop_invitation_encode(&inv, value)) {
        fuzz_check(untouched(value, sizeof(value)));
        return;
    }
    fuzz_check(!loop_invitation_decode(&again, value));
    fuzz_check(!strcmp(again.path, path) && !memcmp(again.token, inv.token, sizeof(inv.token)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const uint8_t which = fuzz_u8(&in);
    char *text = fuzz_string(in.at, in.left);

    switch (which & 3) {
    case 0: offer_try(text); break;
    case 1: boot_id_try(text); break;
    case 2: invitation_try(text); break;
    case 3: path_try(text); break;
    }
    free(text);
    return 0;
}

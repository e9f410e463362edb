/*
 * fuzz_chap.c - CHAP: one end against a stranger without the secret, or both ends with a hand on the wire
 *
 * Input: the settings, then what the stranger sends, messages parted by 0xff, or what happens to the messages
 * that the honest ends exchange. Bytes 1 to 3 in the stranger's words stand for what this end said last: its
 * CHAP_I, CHAP_C and CHAP_R. A stranger is never believed, whatever he says; two honest ends always agree.
 */
#include "iscsi/chap.h"
#include "tests/fuzz/fuzz.h"

enum { AGAINST_TARGET, AGAINST_INITIATOR, HONEST };
enum { STEPS_MAX = 6, TEXT_MAX = 8192 };

static const struct chap_cred users[] = {
    { "alice", "a secret of alice", 17 },
    { "bob", "and one of bob's own", 20 },
};
static const struct chap_cred target = { "target", "what the target proves", 22 };
static const uint8_t random_ini[33] = "initiator's random bytes, all 32", random_tgt[33] = "targets have other random bytes.";

/* What one end says, and what it said before. */
struct says {
    struct iscsi_text out;
    char buf[TEXT_MAX], last[TEXT_MAX];
    uint32_t last_len;
};

static void says_next(struct says *s)
{
    memcpy(s->last, s->buf, s->out.len);
    s->last_len = s->out.len;
    iscsi_text_init(&s->out, s->buf, sizeof(s->buf));
}

/* The answer to at most a challenge of 1024 bytes is a name, a proof, and a challenge of our own. */
static void answer_check(const struct says *s, enum chap_step step)
{
    fuzz_check(!s->out.overflow && s->out.len <= 1024);
    fuzz_check(step != CHAP_CONTINUE || s->out.len);
    fuzz_check(step != CHAP_FAILED || !s->out.len);
}

static const char *value_of(char *text, uint32_t len, const char *name)
{
    char *key, *value;
    uint32_t pos = 0;

    while (iscsi_text_next(text, len, &pos, &key, &value) == 1)
        if (!strcmp(key, name))
            return value;
    return "";
}

/* The stranger's next message with what he has overheard put in. Taken by the caller. */
static char *message_read(struct fuzz_in *in, const struct says *s, uint32_t *len)
{
    static const char *const names[] = { NULL, "CHAP_I", "CHAP_C", "CHAP_R" };
    const uint8_t *end = in->left ? memchr(in->at, 0xff, in->left) : NULL;
    const size_t n = end ? (size_t)(end - in->at) : in->left;
    char heard[TEXT_MAX], text[TEXT_MAX];
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        const uint8_t c = in->at[i];
        const char *put = (const char[]){ (char)c, '\0' };
        size_t put_len = 1;

        if (c && c < sizeof(names) / sizeof(names[0])) {
            memcpy(heard, s->last, s->last_len);
            put = value_of(heard, s->last_len, names[c]);
            put_len = strlen(put);
        }
        if (used + put_len > sizeof(text))
            break;
        memcpy(text + used, put, put_len);
        used += put_len;
    }
    in->at += n + (end != NULL);
    in->left -= n + (end != NULL);
    *len = (uint32_t)used;
    return fuzz_copy(text, used);
}

static void against_target(struct fuzz_in *in, unsigned algs, bool mutual)
{
    struct chap_target t;
    struct says s;
    enum chap_step step = CHAP_CONTINUE;

    chap_target_init(&t, algs, random_tgt);
    iscsi_text_init(&s.out, s.buf, sizeof(s.buf));
    for (int i = 0; i < STEPS_MAX && in->left; i++) {
        const bool over = step != CHAP_CONTINUE;
        uint32_t len;
        char *text;

        says_next(&s);
        text = message_read(in, &s, &len);
        step = chap_target_step(&t, users, 2, mutual ? &target : NULL, text, len, &s.out);
        answer_check(&s, step);
        fuzz_check(step == CHAP_CONTINUE || step == CHAP_FAILED);
        fuzz_check(!over || step == CHAP_FAILED);       /* who failed once has failed */
        fuzz_check(!t.mutual_done && memchr(t.user, '\0', sizeof(t.user)));
        free(text);
    }
}

static void against_initiator(struct fuzz_in *in, unsigned algs, bool mutual)
{
    struct chap_initiator c;
    struct says s;
    enum chap_step step;

    chap_initiator_init(&c, &users[0], mutual ? &target : NULL, algs, random_ini);
    iscsi_text_init(&s.out, s.buf, sizeof(s.buf));
    step = chap_initiator_step(&c, NULL, 0, &s.out);
    fuzz_check(step == (algs & CHAP_ALGS_ALL ? CHAP_CONTINUE : CHAP_NO_ALG));
    for (int i = 0; i < STEPS_MAX && in->left; i++) {
        const bool over = step != CHAP_CONTINUE;
        uint32_t len;
        char *text;

        says_next(&s);
        text = message_read(in, &s, &len);
        step = chap_initiator_step(&c, text, len, &s.out);
        answer_check(&s, step);
        fuzz_check(step != CHAP_DONE || !mutual);
        fuzz_check(!over || step == CHAP_FAILED);
        free(text);
    }
}

/* What happens to a message on its way. Return: whether it arrives as it was sent. */
static bool message_spoil(struct fuzz_in *in, char *text, uint32_t *len)
{
    const uint8_t what = fuzz_u8(in);
    uint32_t at;

    if (!(what & 3) || !*len)
        return true;
    at = fuzz_u16(in) % *len;
    if (what & 1)
        text[at] = (char)(text[at] ^ (what >> 2));
    else
        *len = at;
    return what & 1 && !(what >> 2);
}

static void honest_try(struct fuzz_in *in, unsigned algs_i, unsigned algs_t, bool mutual)
{
    const bool can = algs_i & algs_t & CHAP_ALGS_ALL;
    struct chap_initiator c;
    struct chap_target t;
    struct says si, st;
    enum chap_step step_i, step_t = CHAP_CONTINUE;
    bool clean = true;

    chap_initiator_init(&c, &users[0], mutual ? &target : NULL, algs_i, random_ini);
    chap_target_init(&t, algs_t, random_tgt);
    iscsi_text_init(&si.out, si.buf, sizeof(si.buf));
    iscsi_text_init(&st.out, st.buf, sizeof(st.buf));
    step_i = chap_initiator_step(&c, NULL, 0, &si.out);
    for (int i = 0; i < STEPS_MAX && step_i != CHAP_FAILED && step_t == CHAP_CONTINUE && si.out.len; i++) {
        clean &= message_spoil(in, si.buf, &si.out.len);
        step_t = chap_target_step(&t, users, 2, mutual ? &target : NULL, si.buf, si.out.len, &st.out);
        answer_check(&st, step_t);
        iscsi_text_init(&si.out, si.buf, sizeof(si.buf));
        if (step_t == CHAP_FAILED || step_i == CHAP_DONE)
            break;
        clean &= message_spoil(in, st.buf, &st.out.len);
        step_i = chap_initiator_step(&c, st.buf, st.out.len, &si.out);
        answer_check(&si, step_i);
        iscsi_text_init(&st.out, st.buf, sizeof(st.buf));
    }
    if (clean && can)
        fuzz_check(step_i == CHAP_DONE && step_t == CHAP_DONE && t.mutual_done == mutual);
    if (step_t == CHAP_DONE)
        fuzz_check(!strcmp(t.user, "alice"));
    if (mutual && step_i == CHAP_DONE)      /* it has seen the proof of the target's secret */
        fuzz_check(step_t == CHAP_DONE && t.mutual_done);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const uint8_t flags = fuzz_u8(&in), algs = fuzz_u8(&in);
    const bool mutual = flags & 4;
    const unsigned algs_i = (unsigned)(algs & 15) << CHAP_MD5, algs_t = (unsigned)(algs >> 4) << CHAP_MD5;

    switch (flags & 3) {
    case AGAINST_TARGET:    against_target(&in, algs_t, mutual); break;
    case AGAINST_INITIATOR: against_initiator(&in, algs_i, mutual); break;
    default:                honest_try(&in, algs_i, algs_t, mutual); break;
    }
    return 0;
}

/*
 * fuzz_rpc.c - requests on the control socket: where they end, and whether they are any
 *
 * Input: the longest request, how the stream comes in pieces, and the stream. The pieces make no difference; no
 * request is longer than allowed, and what is kept of one is bounded by that.
 */
#include <errno.h>

#include "rpc/frame.h"
#include "rpc/json.h"
#include "rpc/request.h"
#include "tests/fuzz/fuzz.h"

#define PIECE_MAX 64u
#define VALUES_MAX 64u

/* What came out of a stream: lengths and sums of the values, and how it ended. */
struct found {
    size_t len[VALUES_MAX];
    uint64_t sum[VALUES_MAX];
    unsigned nr;
    bool too_long, partial;
};

static uint64_t sum_of(const char *s, size_t n)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)s[i]) * 1099511628211u;
    return h;
}

static void request_try(const char *text, size_t len)
{
    json_error_t err;
    json_t *req = NULL;
    const json_t *params, *id;
    const int got = rpc_json_read(&req, text, len, JSON_REJECT_DUPLICATES, &err);

    fuzz_check(got ? got == -EINVAL && !req : !!req);
    if (got)
        return;
    if (rpc_request_refusal(req)) {
        fuzz_check(strlen(rpc_request_refusal(req)) < 200);
    } else {
        params = json_object_get(req, "params");
        id = json_object_get(req, "id");
        fuzz_check(json_is_object(req) && json_is_string(json_object_get(req, "method")));
        fuzz_check(!params || json_is_object(params));
        fuzz_check(!json_is_object(id) && !json_is_array(id) && !json_is_boolean(id));
    }
    json_decref(req);
}

/* Return: false when the stream is to be given up. */
static bool values_take(struct rpc_frame *f, size_t max, struct found *out, bool look)
{
    const char *value;
    size_t len;
    int got;

    while ((got = rpc_frame_next(f, max, &value, &len)) == 1) {
        fuzz_check(len && len <= max && value >= f->buf && value + len <= f->buf + f->len);
        if (look)
            request_try(value, len);
        if (out->nr == VALUES_MAX)
            return false;
        out->len[out->nr] = len;
        out->sum[out->nr++] = sum_of(value, len);
    }
    fuzz_check(got == 0 || got == -EFBIG);
    out->too_long = got < 0;
    return !got;
}

static void stream_run(struct found *out, const uint8_t *data, size_t len, size_t piece, size_t max, bool look)
{
    struct rpc_frame f = { 0 };
    bool more = true;

    *out = (struct found){ 0 };
    for (size_t at = 0; more && at < len; at += piece) {
        fuzz_check(!rpc_frame_add(&f, data + at, piece < len - at ? piece : len - at));
        more = values_take(&f, max, out, look);
        fuzz_check(f.cap <= 4096 || f.cap <= 2 * (max + piece));
    }
    out->partial = rpc_frame_partial(&f);
    rpc_frame_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = { data, size };
    const size_t max = 4u * fuzz_u8(&in) + 1, piece = fuzz_u8(&in) % PIECE_MAX + 1;
    struct found whole, pieces;

    stream_run(&whole, in.at, in.left, in.left ? in.left : 1, max, true);
    stream_run(&pieces, in.at, in.left, piece, max, false);
    fuzz_check(whole.nr == pieces.nr && whole.too_long == pieces.too_long && whole.partial == pieces.partial);
    fuzz_check(!memcmp(whole.len, pieces.len, sizeof(whole.len)) &&
               !memcmp(whole.sum, pieces.sum, sizeof(whole.sum)));
    return 0;
}

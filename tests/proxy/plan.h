/*
 * plan.h - which fault, where in which stream, and when: as text, as structs, and drawn from a seed
 *
 * A plan is a text of steps, one a line:
 *
 *     WHEN [conn N] [up|down] FAULT [ARGUMENTS]
 *
 * WHEN is "byte N", before byte N of the stream goes on, or "at MS", counted from the proxy's start. Without a
 * connection each is meant, without a direction both are. Blank lines and what follows a '#' are passed over. What
 * the proxy did is printed as such lines, so what it says of one run is the plan of another.
 */
#ifndef CORELANE_PROXY_PLAN_H
#define CORELANE_PROXY_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_kind {
    FAULT_DELAY,      /* [0] ms: nothing of the stream is sent on meanwhile */
    FAULT_DROP,       /* the rest of the stream is lost, its end too, and nobody is told */
    FAULT_RESET,      /* RST both ways */
    FAULT_HALF_CLOSE, /* FIN one way: the rest of the stream is lost, the other direction goes on */
    FAULT_SPLIT,      /* [0] bytes: each of them is sent by itself */
    FAULT_FLIP,       /* [0] bit 0..7 of the byte is inverted: only where digests were negotiated */
    FAULT_BLACKHOLE,  /* [0] ms: nothing passes either way, nothing closes */
    FAULT_SLOW,       /* [0] bytes a second are read, for [1] ms */
    FAULT_LAG,        /* [0] ms: each byte arrives so much later from now on, as over a longer wire; 0: no longer */
    FAULT_KINDS
};

#define FAULT_ARGS 2
#define LAG_MAX_MS 1000u
struct fault {
    enum fault_kind kind;
    uint32_t arg[FAULT_ARGS]; /* by the kind's row; 0 where it has none */
};

struct fault_row {
    const char *word;
    const char *args; /* "MS", "BYTES_PER_S MS"; "" for none */
    struct fault_range {
        uint32_t lo, hi;           /* allowed */
        uint32_t draw_lo, draw_hi; /* drawn from a seed */
    } range[FAULT_ARGS];
};
extern const struct fault_row fault_rows[FAULT_KINDS];
unsigned fault_args(enum fault_kind kind); /* how many arguments it takes */

/* ---- steps ----------------------------------------------------------------------------------------------- */

enum way { WAY_UP, WAY_DOWN, WAY_BOTH }; /* to the target, to the initiator */

struct step {
    bool timed;     /* where: at that time, else at that byte */
    uint64_t where; /* ms since the proxy's start, or bytes of the stream that went before */
    uint32_t conn;  /* counted from 1 as they are accepted; 0: every one */
    enum way way;
    struct fault fault;
};

#define PLAN_WHY_MAX  160
#define STEP_TEXT_MAX 128
/**
 * step_parse - one line of a plan
 * @out:  borrowed; written on success only
 * @line: borrowed, NUL-terminated; "now ..." is taken too, as "at 0 ..."
 * @why:  what is wrong, and what was expected
 *
 * Return: 1: a step; 0: nothing but a comment; -EINVAL.
 */
int step_parse(struct step *out, const char *line, char why[static PLAN_WHY_MAX]);
/* The line that step_parse() reads as s. */
void step_format(const struct step *s, char out[static STEP_TEXT_MAX]);

struct plan { /* zeroed before its first use */
    struct step *steps; /* by where, in the order of the text where that is the same */
    unsigned nr;
};
/* A whole text, NUL-terminated. Return: 0; -EINVAL with @why naming the line; -ENOMEM. */
int plan_parse(struct plan *out, const char *text, char why[static PLAN_WHY_MAX]);
void plan_free(struct plan *p);
/* The first step from *at on that waits in that stream, by byte; *at is its place. Return: NULL: none. */
const struct step *plan_next_byte(const struct plan *p, unsigned *at, uint32_t conn, enum way way);
/* The first timed step from *at on. */
const struct step *plan_next_timed(const struct plan *p, unsigned *at);

/* ---- drawn from a seed ----------------------------------------------------------------------------------- */

struct dice { /* SplitMix64 */
    uint64_t state;
};
/* The dice of one stream: the same faults at the same bytes for the same seed, whatever other streams do. */
struct dice dice_of(uint64_t seed, uint32_t conn, enum way way);
uint64_t dice_draw(struct dice *d, uint64_t lo, uint64_t hi); /* lo..hi */

struct mix { /* how often each kind is drawn, against the others */
    uint32_t weight[FAULT_KINDS];
    uint32_t sum;
};
/* "delay,reset:3,split" or "all" (but for flip and lag); a number after ':' is a weight, else 1. Return: 0 or -EINVAL. */
int mix_parse(struct mix *out, const char *text, char why[static PLAN_WHY_MAX]);
struct fault mix_draw(const struct mix *m, struct dice *d); /* m->sum is not 0 */

#endif

/*
 * layout.h - a layout as text that people edit: which session belongs on which core
 *
 *   # comment
 *   policy free-core
 *   rebalance advise 6
 *   session iqn.2026-11.org.example:disk 192.0.2.7:3260 0 core 3
 *   session iqn.2026-11.org.example:disk 192.0.2.7:3260 1 pin 5
 *
 * Sessions come and go and their numbers with them: one is told by target, portal, and which one it is of those there.
 */
#ifndef CORELANE_BALANCER_LAYOUT_H
#define CORELANE_BALANCER_LAYOUT_H

#include <stddef.h>
#include "balancer/place.h"
#include "iscsi/name.h"

#define BAL_LAYOUT_SEATS_MAX 4096u
#define BAL_INDEX_MAX        65535u
#define BAL_BUDGET_MAX       60u

enum bal_auto { BAL_AUTO_OFF, BAL_AUTO_ON, BAL_AUTO_ADVISE, BAL_AUTOS };
extern const char *const bal_auto_names[]; /* "off", "on", "advise"; NULL at the end */

struct bal_seat { /* where one session belongs */
    char target[ISCSI_NAME_LEN_MAX + 1];
    struct iscsi_portal portal;
    unsigned index; /* which of the sessions to that target and portal, 0..BAL_INDEX_MAX */
    int cpu;        /* 0.. */
    bool pinned;    /* it stays there, and comes there whenever it logs in */
    unsigned line;  /* of the text; 0: of none */
};
struct bal_layout {
    bool has_policy, has_rebalance; /* were said */
    enum bal_policy policy;
    enum bal_auto rebalance;
    unsigned budget; /* moves per minute, 1..BAL_BUDGET_MAX; 0: not said */
    unsigned seats_nr;
    struct bal_seat *seats; /* in the order of the text */
};

/**
 * bal_layout_parse - a layout from its text
 * @out:  taken by the caller on success, to bal_layout_free(); else untouched
 * @text: borrowed, @len bytes, need not end with a NUL
 * @name: what it is called in @why; borrowed
 * @why:  "NAME:LINE: what is wrong and what is right"
 *
 * A session that has two lines, a policy that is said twice, and a core that no machine has are refused. Any thread, never
 * blocks. Return: 0, -EINVAL or -ENOMEM with @why.
 */
int bal_layout_parse(struct bal_layout *out, const char *text, size_t len, const char *name,
                     char why[static BAL_TEXT_MAX]);
/* Its text, comments that explain it first. Given to the caller to free(); NULL: no memory. Any thread. */
char *bal_layout_text(const struct bal_layout *l);
void bal_layout_free(struct bal_layout *l); /* what it holds, not l itself */
/* The one of that session, or NULL. */
const struct bal_seat *bal_layout_find(const struct bal_layout *l, const char *target,
                                       const struct iscsi_portal *portal, unsigned index);

#endif

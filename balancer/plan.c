/*
 * plan.c - placement repeated on a copy
 */
#include <assert.h>
#include <string.h>

#include "balancer/plan.h"

#define CORES_MAX 1024u /* as many as there are reactors */

unsigned bal_plan(const struct bal_topo *topo, const struct bal_core *cores, unsigned nr,
                  const struct bal_ask *ask, unsigned more, unsigned each_pct, struct bal_planned *out)
{
    struct bal_core then[CORES_MAX];

    assert(nr && nr <= CORES_MAX);
    memcpy(then, cores, nr * sizeof(then[0]));
    for (unsigned i = 0; i < more; i++) {
        struct bal_core *c;

        out[i].at = bal_place(topo, then, nr, ask, NULL, out[i].why);
        if (out[i].at < 0)
            return i;
        c = &then[out[i].at];
        c->sessions++;
        c->busy_pct = c->busy_pct + each_pct < 100 ? c->busy_pct + each_pct : 100;
    }
    return more;
}

/*
 * plan.h - what more sessions would get, one after another, were they to come now
 *
 * Pure, as place.h is: bal_place() repeated on a copy of the cores.
 */
#ifndef CORELANE_BALANCER_PLAN_H
#define CORELANE_BALANCER_PLAN_H

#include "balancer/place.h"

struct bal_planned {
    int at; /* index of the core; -1: it would be refused */
    char why[BAL_TEXT_MAX];
};

/**
 * bal_plan - places @more sessions that all ask the same
 * @cores:    borrowed; as they are now
 * @each_pct: what each is thought to make its core busier by; 0: sessions alone count
 * @out:      @more of them, in order
 *
 * Any thread; takes a while for many on a large machine: then on a helper. Return: how many would be placed; the first that
 * is refused is the last that was filled in, as all after it would be refused for the same reason.
 */
unsigned bal_plan(const struct bal_topo *topo, const struct bal_core *cores, unsigned nr,
                  const struct bal_ask *ask, unsigned more, unsigned each_pct, struct bal_planned *out);

#endif

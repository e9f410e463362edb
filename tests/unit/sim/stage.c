/*
 * stage.c - a machine to stand on for tests of the reactor that know nothing of the simulation: linked with one, it
 * makes their main() run as a program there
 */
#include "reactor/sim/sim.h"

static const struct sim_program nobody = { .name = "test" };
static struct sim *world;

__attribute__((constructor))
static void stage_set(void)
{
    struct sim_prog *p;

    world = sim_new(1);
    (void)sim_start(sim_machine_new(world, "stage", 4), &nobody, NULL, &p);
    sim_enter(p);
}

__attribute__((destructor))
static void stage_clear(void)
{
    sim_free(world);
}

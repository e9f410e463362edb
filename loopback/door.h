/*
 * door.h - what else loopback/ and its tests want of a door
 */
#ifndef CORELANE_LOOPBACK_DOOR_H
#define CORELANE_LOOPBACK_DOOR_H

#include "loopback/loop.h"

/* So many bytes of others' memory are mapped at a time, instead of a quarter of the machine's. Before anybody came. */
void loop_door_limit(struct loop_door *d, uint64_t bytes);

#endif

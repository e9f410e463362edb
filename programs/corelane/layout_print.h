/*
 * layout_print.h - the picture of a layout: cores, their load, who is on them; and why
 */
#ifndef CORELANE_CLI_LAYOUT_PRINT_H
#define CORELANE_CLI_LAYOUT_PRINT_H

#include <jansson.h>
#include <stdio.h>

/* What layout.show of one daemon answered. Cores that have nothing to tell are taken together, so that a machine of
 * hundreds fits a screen. */
void layout_picture(FILE *to, const char *daemon, const json_t *layout);
/* What layout.explain answered. */
void layout_reasons(FILE *to, const json_t *answer);
/* What layout.advice answered. */
void layout_advice(FILE *to, const json_t *answer);
/* What layout.plan answered. */
void layout_plan(FILE *to, const json_t *answer);

#endif

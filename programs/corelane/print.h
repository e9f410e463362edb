/*
 * print.h - answers as tables for people
 */
#ifndef CORELANE_CLI_PRINT_H
#define CORELANE_CLI_PRINT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum cell {
    CELL_TEXT,  /* strings and numbers as they are; lists joined by ',' ; "-" when absent */
    CELL_SIZE,  /* bytes */
    CELL_COUNT, /* how many entries a list has */
    CELL_YES,   /* a boolean as "yes" or "-" */
};
struct column {
    const char *title, *key;
    enum cell cell;
};
/* One line an element of @rows, columns as wide as they need to be; says @none when there are none. */
void table_print(const json_t *rows, const struct column *columns, size_t nr, const char *none);
#define table(rows, columns, none) table_print(rows, columns, sizeof(columns) / sizeof((columns)[0]), none)

#define CELL_LEN_MAX 320
void cell_format(const json_t *value, enum cell cell, char out[static CELL_LEN_MAX]);
/* A value of the answer with whatever a terminal would act on replaced: names come from peers. */
const char *text_of(const json_t *object, const char *key);
uint64_t num_of(const json_t *object, const char *key);

#endif

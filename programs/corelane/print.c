/*
 * print.c - answers as tables for people
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs/common/text.h"
#include "programs/corelane/print.h"

#define COLUMNS_MAX 16

const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "-";
}

uint64_t num_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void list_join(const json_t *list, char out[static CELL_LEN_MAX])
{
    size_t i, at = 0;
    json_t *v;

    out[0] = '\0';
    json_array_foreach(list, i, v)
    {
        char one[CELL_LEN_MAX];

        cell_format(v, CELL_TEXT, one);
        at += (size_t)snprintf(out + at, CELL_LEN_MAX - at, "%s%s", i ? "," : "", one);
        if (at >= CELL_LEN_MAX)
            break;
    }
}

static void text_cell(const json_t *v, char out[static CELL_LEN_MAX])
{
    if (json_is_string(v) && *json_string_value(v))
        snprintf(out, CELL_LEN_MAX, "%s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(out, CELL_LEN_MAX, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(out, CELL_LEN_MAX, "%.2f", json_real_value(v));
    else if (json_is_boolean(v))
        snprintf(out, CELL_LEN_MAX, "%s", json_is_true(v) ? "yes" : "no");
    else if (json_is_array(v) && json_array_size(v))
        list_join(v, out);
    else
        snprintf(out, CELL_LEN_MAX, "-");
}

void cell_format(const json_t *v, enum cell cell, char out[static CELL_LEN_MAX])
{
    switch (cell) {
    case CELL_SIZE: size_format((uint64_t)json_integer_value(v), out); break;
    case CELL_COUNT:
        snprintf(out, CELL_LEN_MAX, "%zu",
                 json_is_array(v) ? json_array_size(v) : (size_t)json_integer_value(v));
        break;
    case CELL_YES: snprintf(out, CELL_LEN_MAX, "%s", json_is_true(v) ? "yes" : "-"); break;
    case CELL_TEXT: text_cell(v, out); break;
    }
    for (char *p = out; *p; p++) /* what a terminal would obey, from names that peers chose */
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
}

void table_print(const json_t *rows, const struct column *columns, size_t nr, const char *none)
{
    size_t width[COLUMNS_MAX], i;
    char text[CELL_LEN_MAX];
    json_t *row;

    if (!json_array_size(rows)) {
        fprintf(stderr, "%s\n", none); /* for people: a pipe gets nothing, which is what there is */
        return;
    }
    for (size_t c = 0; c < nr; c++) {
        width[c] = strlen(columns[c].title);
        json_array_foreach(rows, i, row)
        {
            cell_format(json_object_get(row, columns[c].key), columns[c].cell, text);
            if (strlen(text) > width[c])
                width[c] = strlen(text);
        }
    }
    for (size_t c = 0; c < nr; c++)
        printf("%-*s%s", c + 1 < nr ? (int)width[c] : 0, columns[c].title, c + 1 < nr ? "  " : "\n");
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; c < nr; c++) {
            cell_format(json_object_get(row, columns[c].key), columns[c].cell, text);
            printf("%-*s%s", c + 1 < nr ? (int)width[c] : 0, text, c + 1 < nr ? "  " : "\n");
        }
    }
}

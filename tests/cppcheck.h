/* What cppcheck is to take jansson's loops for: given with --include, never compiled. */
#define json_array_foreach(a, i, v) for ((i) = 0; ((v) = json_array_get((a), (i))); (i)++)
#define json_object_foreach(o, k, v) while (((k) = "") && ((v) = json_object_get((o), (k))))

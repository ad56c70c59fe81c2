/* Action view: see action_view.h. */
#include "gateway/action_view.h"

#include "common/clock.h"

/* A stored JSON text, or null. */
static json_t *parsed(const char *text)
{
    json_t *value = text != NULL ? json_loads(text, 0, NULL) : NULL;

    return value != NULL ? value : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static json_t *number_or_null(int64_t number)
{
    return number >= 0 ? json_integer(number) : json_null();
}

static json_t *time_or_null(int64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];

    return wall_ms > 0 ? json_string(clock_format(wall_ms, text)) : json_null();
}

json_t *action_view(const struct store_action *row, int64_t position, int64_t eta_ms)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", row->id,
                     "state", row->state, "team", row->team, "client", row->client, "submitted_at",
                     time_or_null(row->submitted_ms), "request", parsed(row->request), "reason",
                     text_or_null(row->reason), "position", number_or_null(position), "eta_s",
                     number_or_null(eta_ms < 0 ? -1 : (eta_ms + 999) / 1000), "results",
                     parsed(row->results), "problem", parsed(row->problem), "finished_at",
                     time_or_null(row->finished_ms));
}

"""Rows that read a trained form in windows that overlap, and at longer sequences than it was trained on."""

from studies.rows import Paper, Reevaluation, Row

LONGER = (2, 4)  # times the training length
OVERLAPPING = "Windows that overlap by half"


def lengths(*forms: str, relative: bool) -> list[Row]:
    """Every form read in overlapping windows, so that no token is predicted from less than half a window but
    at a document's start, against itself side by side; at longer sequences, which overlap too, against itself
    in overlapping windows of the training length; and the others against the first, the published form, read
    alike.

    relative: whether the published form has relative positions. Of these Gopher says that they can be read
    beyond the training length, so that learned ones should lose more there than they do at it.
    """
    claim = Paper(
        "evaluated beyond the training length, as relative positions can be", "worse", "Gopher, section 2.1"
    )

    def read(form, name, group, against, times=1, **claimed):
        note = "the last position's row is repeated" if form.startswith("learned") and times > 1 else ""
        change = {"overlapping": True} | ({"length": f"x{times}"} if times > 1 else {})
        again = Reevaluation(form, longer=times if times > 1 else None, overlapping=True)
        return Row(name, group, against, change, note=note, reevaluation=again, **claimed)

    rows = [read(form, f"{form}, overlapping", OVERLAPPING, form) for form in forms]
    for form in forms[1:]:
        rows.append(
            read(form, f"{form} against {forms[0]}, overlapping", OVERLAPPING, f"{forms[0]}, overlapping")
        )
    for times in LONGER:
        group, at = f"Beyond the training length: {times} times as long, overlapping", f", {times}x length"
        rows += [read(form, form + at, group, f"{form}, overlapping", times) for form in forms]
        for form in forms[1:]:
            name, claimed = f"{form} against {forms[0]}", {}
            if relative and form.startswith("learned"):
                claimed = {"paper": claim, "interaction": f"{name}, overlapping"}
            rows.append(read(form, name + at, group, forms[0] + at, times, **claimed))
    return rows

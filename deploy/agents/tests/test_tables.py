"""Tables: every planted defect is found, what is clean is left alone, and only what was asked for is changed."""

import csv
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plimsoll_tool_dispatcher.handler import ToolRejected

CLEAN = [[f"R-{n:03d}", ["North", "South", "East"][n % 3], f"2026-03-{n % 28 + 1:02d}", f"{20 + n % 7 / 2:.1f}"] for n in range(60)]
HEADER = ["reading_id", "bay", "taken_on", "temperature_c"]


def as_csv(rows: list[list[str]], delimiter: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([HEADER, *rows])
    return out.getvalue()


def planted(row: int, column: str, value: str) -> str:
    rows = [list(cells) for cells in CLEAN]
    rows[row - 1][HEADER.index(column)] = value
    return as_csv(rows)


@pytest.fixture(scope="session")
def profiling(handlers: Callable[[str, str], ModuleType]) -> ModuleType:
    return handlers("pipeline", "profiling")


@pytest.fixture(scope="session")
def fixing(handlers: Callable[[str, str], ModuleType]) -> ModuleType:
    return handlers("pipeline", "fixing")


@pytest.fixture(scope="session")
def find(profiling: ModuleType) -> Callable[..., list[Any]]:
    def findings(text: str, **limits: tuple[float, float]) -> list[Any]:
        table = profiling.parse_table(text)
        found: list[Any] = profiling.find(table, profiling.profile(table), limits)
        return found

    return findings


@pytest.fixture(scope="session")
def repair(profiling: ModuleType, fixing: ModuleType, find: Callable[..., list[Any]]) -> Callable[[str], tuple[list[Any], list[Any], int]]:
    def proposals(text: str) -> tuple[list[Any], list[Any], int]:
        columns = {
            column.name: fixing.Column(
                name=column.name,
                type=column.type,
                low=column.low,
                high=column.high,
                date_format=column.date_format,
                categories=column.categories,
            )
            for column in profiling.profile(profiling.parse_table(text))
        }
        settled: tuple[list[Any], list[Any], int] = fixing.settle(
            columns, [(finding.row, finding.column, finding.kind, finding.value) for finding in find(text)]
        )
        return settled

    return proposals


def test_a_clean_table_has_no_findings(find: Callable[..., list[Any]]):
    assert find(as_csv(CLEAN)) == []


def test_columns_are_described_by_most_of_their_values(profiling: ModuleType):
    columns = profiling.profile(profiling.parse_table(as_csv(CLEAN)))
    assert [column.type for column in columns] == ["text", "category", "date", "number"]
    assert columns[1].categories == ("North", "South", "East")
    assert columns[2].date_format == "%Y-%m-%d"
    assert (columns[3].low, columns[3].high) == (20.0, 23.0)
    assert profiling.key_column(profiling.parse_table(as_csv(CLEAN)), columns) == 0


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("temperature_c", "", "missing"),
        ("temperature_c", "n/a", "missing"),
        ("temperature_c", "warm", "wrong_type"),
        ("temperature_c", "21,5", "number_format"),
        ("temperature_c", "21.5 C", "number_format"),
        ("temperature_c", "-999", "negative"),
        ("temperature_c", "71.6", "outlier"),
        ("bay", "Nroth", "category_spelling"),
        ("bay", "north", "category_spelling"),
        ("bay", "Annex", "unknown_category"),
        ("bay", "North ", "whitespace"),
        ("taken_on", "02.03.2026", "date_format"),
        ("taken_on", "2026-02-30", "invalid_date"),
        ("taken_on", "2062-03-02", "out_of_range"),
        ("taken_on", "soon", "wrong_type"),
        ("reading_id", "R-001", "duplicate_key"),
        ("bay", "SÃ¼d", "encoding"),
    ],
)
def test_a_planted_defect_is_found_and_nothing_else(find: Callable[..., list[Any]], column: str, value: str, kind: str):
    found = find(planted(17, column, value))
    assert [(finding.row, finding.column, finding.kind, finding.value) for finding in found] == [(17, column, kind, value)]


def test_a_repeated_row_is_found_once_and_not_cell_by_cell(find: Callable[..., list[Any]]):
    assert [(finding.row, finding.kind) for finding in find(as_csv([*CLEAN, CLEAN[4]]))] == [(61, "duplicate_row")]


def test_a_row_of_the_wrong_width_is_found_and_its_shifted_cells_are_left_alone(find: Callable[..., list[Any]]):
    shifted = as_csv(CLEAN).replace("R-004,South,", "R-004,South,oops,")
    assert [(finding.row, finding.kind) for finding in find(shifted)] == [(5, "wrong_width")]


def test_the_owner_s_limits_hold(find: Callable[..., list[Any]]):
    assert {finding.kind for finding in find(as_csv(CLEAN), temperature_c=(20.0, 22.5))} == {"out_of_range"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_usual_delimiters_are_understood(profiling: ModuleType, delimiter: str):
    table = profiling.parse_table("\ufeff" + as_csv(CLEAN, delimiter))
    assert table.header == tuple(HEADER)
    assert len(table.rows) == 60


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no table at all", "NO_ROWS"),
        ("a,b\n", "NO_ROWS"),
        ("a,a\n1,2\n", "BAD_HEADER"),
        ("a,\n1,2\n", "BAD_HEADER"),
        ('a,b\n"1,2\n', "NOT_CSV"),
        ("a\n" + "1\n" * 5_001, "TOO_LARGE"),
    ],
)
def test_what_is_no_table_is_refused_with_its_reason(profiling: ModuleType, text: str, reason: str):
    with pytest.raises(ToolRejected) as refusal:
        profiling.parse_table(text)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("column", "value", "after", "sure"),
    [
        ("temperature_c", "21,5", "21.5", True),
        ("temperature_c", "21.5 C", "21.5", True),
        ("temperature_c", "71.6", "22.0", False),
        ("temperature_c", "-21.5", "21.5", False),
        ("temperature_c", "215", "21.5", False),
        ("temperature_c", "-999", None, False),
        ("temperature_c", "warm", None, False),
        ("bay", "north", "North", True),
        ("bay", "Nroth", "North", False),
        ("bay", "North ", "North", True),
        ("taken_on", "20.03.2026", "2026-03-20", True),
        ("taken_on", "04/03/2026", "2026-03-04", False),
        ("taken_on", "2026-02-30", None, False),
    ],
)
def test_a_fix_follows_from_the_column_and_is_sure_only_without_a_second_reading(
    repair: Callable[[str], tuple[list[Any], list[Any], int]], column: str, value: str, after: str | None, sure: bool
):
    certain, guessed, still_open = repair(planted(17, column, value))
    found = [(fix.row, fix.column, fix.before, fix.after) for fix in (certain if sure else guessed)]
    assert found == [(17, column, value, after)]
    assert (len(certain) + len(guessed), still_open) == (1, 0)


@pytest.mark.parametrize(("column", "value"), [("temperature_c", ""), ("bay", "Annex"), ("reading_id", "R-001")])
def test_what_only_the_owner_knows_stays_open(repair: Callable[[str], tuple[list[Any], list[Any], int]], column: str, value: str):
    assert repair(planted(17, column, value)) == ([], [], 1)


@pytest.mark.parametrize(
    ("text", "number"), [("1,284.50", "1284.50"), ("1.284,50", "1284.50"), ("€ 18.40", "18.40"), ("1,284", None), ("12 kg", "12")]
)
def test_a_number_loses_its_trimmings_unless_it_has_two_readings(fixing: ModuleType, text: str, number: str | None):
    assert fixing.plain_number(text) == number


def test_fixes_change_exactly_their_cells(fixing: ModuleType, repair: Callable[[str], tuple[list[Any], list[Any], int]]):
    text = as_csv([*CLEAN, CLEAN[4]]).replace("R-016,South", "R-016,Suoth")
    certain, guessed, _ = repair(text)
    fixed = fixing.apply(text, [*certain, *guessed])
    assert (fixed.rows_before, len(fixed.rows), fixed.cells_changed, fixed.rows_dropped) == (61, 60, 1, 1)
    assert [list(row) for row in fixed.rows] == CLEAN


def test_a_fix_for_another_state_of_the_table_is_refused(fixing: ModuleType):
    fix = fixing.Fix(row=3, column="bay", action="replace", before="West", after="East", why="")
    with pytest.raises(ToolRejected, match="FIX_OUTDATED"):
        fixing.apply(as_csv(CLEAN), [fix])
    with pytest.raises(ToolRejected, match="FIX_MISPLACED"):
        fixing.apply(as_csv(CLEAN), [fixing.Fix(row=99, column=None, action="drop_row", before="", after=None, why="")])


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


@given(rows=st.lists(st.lists(CELL, min_size=4, max_size=4).filter(lambda row: any(cell.strip() for cell in row)), min_size=1, max_size=20))
def test_a_table_survives_being_read_and_written_without_fixes(profiling: ModuleType, fixing: ModuleType, rows: list[list[str]]):
    written = fixing.to_csv(fixing.apply(as_csv(rows), []))
    assert [list(row) for row in profiling.parse_table(written).rows] == rows


@given(rows=st.lists(st.lists(CELL, min_size=4, max_size=4).filter(lambda row: any(cell.strip() for cell in row)), min_size=1, max_size=20))
def test_any_table_can_be_profiled_searched_described_and_repaired(
    profiling: ModuleType,
    fixing: ModuleType,
    find: Callable[..., list[Any]],
    repair: Callable[[str], tuple[list[Any], list[Any], int]],
    rows: list[list[str]],
):
    text = as_csv(rows)
    found = find(text)
    assert sum(len(group) for group in profiling.grouped(found)) == len(found)
    assert all(profiling.describe(group, "") for group in profiling.grouped(found))
    certain, guessed, still_open = repair(text)
    assert len(certain) + len(guessed) + still_open == len(found)
    assert len(fixing.apply(text, [*certain, *guessed]).rows) <= len(rows)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_half_of_the_values_are_never_far_from_the_rest(profiling: ModuleType, values: list[float]):
    z = profiling.robust_z(values)
    assert sum(z(value) <= 1 for value in values) * 2 >= len(values)

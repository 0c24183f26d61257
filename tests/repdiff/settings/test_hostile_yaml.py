"""Settings from anywhere: bombs, tags, endless numbers and control characters are one line each."""

import time

import pytest

from repdiff.errors import UserError
from repdiff.settings import EncodeSettings, TrainSettings
from repdiff.settings.limits import MAX_CONFIG, MAX_YAML_DEPTH
from repdiff.settings.load import load_settings, read_document

LEVELS = [
    "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]",
    *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)),
]
BOMB = "\n".join(LEVELS)
CASES = {
    "bomb under a number": f"{BOMB}\nencode: {{max_atoms: *a11}}",
    "bomb as a key": f"{BOMB}\n? *a11\n: 1",
    "merged bomb": "x0: &x0 {a: 1}\n" + "\n".join(
        f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 9)}]}}" for n in range(1, 12)
    ),
    "alias inside of itself": "encode: &a [*a]",
    "mapping inside of itself": "encode: &a {max_atoms: *a}",
    "deep lists": "encode: " + "[" * 100_000,
    "deep lists that end": "encode: " + "[" * 900 + "]" * 900,
    "deep mappings": "encode: " + "{a: " * 5000 + "1" + "}" * 5000,
    "dashes": "- " * 5000 + "x",
    "python object": "encode: {max_atoms: !!python/object/apply:os.system ['true']}",
    "python name": "encode: {max_atoms: !!python/name:os.system}",
    "control characters": "encode: {max_atoms: \x07\x1b[31m}",
    "null": "encode: \x00",
    "endless integer": f"encode: {{max_atoms: {'9' * 5000}}}",
    "endless hexadecimal integer": f"encode: {{max_atoms: 0x{'f' * 9000}}}",
    "a day that is none": "encode: {max_atoms: 2001-99-99}",
    "a large float": "encode: {max_atoms: 1.0e+999}",
    "infinity": "encode: {max_atoms: .inf}",
    "list of lists": "encode: {max_atoms: [[[1]]]}",
    "binary": "encode: {max_atoms: !!binary x}",
    "a long text": f"encode: {{max_atoms: {'x' * 100_000}}}",
    "a section that is long": f"encode: {'x' * 100_000}",
    "a name that is long": f"encode: {{{'x' * 1000}: 1}}",
    "large": "#" * (MAX_CONFIG + 1),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hostile_yaml_is_refused_in_one_line(tmp_path, case):
    file = tmp_path / "c.yaml"
    file.write_text(CASES[case], encoding="utf-8")
    started = time.process_time()
    with pytest.raises(UserError) as error:
        load_settings(EncodeSettings, file, {"dataset": "prototypes"})
    assert time.process_time() - started < 5
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 3000


def test_ordinary_aliases_and_depths_are_read(tmp_path):
    (tmp_path / "c.yaml").write_text("train: &t {max_epochs: 3}\nencode: {<<: {max_atoms: 5}}\n")
    assert load_settings(EncodeSettings, tmp_path / "c.yaml", {"dataset": "prototypes"}).max_atoms == 5
    nested = "[" * (MAX_YAML_DEPTH - 2) + "]" * (MAX_YAML_DEPTH - 2)
    (tmp_path / "d.yaml").write_text(f"a: {nested}")
    assert read_document(tmp_path / "d.yaml").keys() == {"a"}


@pytest.mark.parametrize(
    "text", ["a={", "a=[[[", "a=!!python/name:os.system", "a=\x07", "a=" + "[" * 5000, "={", "a", BOMB]
)
def test_options_that_are_no_yaml_are_told_in_one_line(text):
    with pytest.raises(UserError) as error:
        load_settings(TrainSettings, None, {"backend_options": text})
    assert "\n" not in str(error.value)

"""The cells of docs/tutorials/python.ipynb, run by a kernel as a notebook runs them: what stands below a cell is what it gives."""

import os
import tempfile
import unittest
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"


def shown(cell) -> list[str]:
    """What stands below a cell."""
    return [output.get("text") or output.get("data", {}).get("text/plain") or str(output) for output in cell.outputs]


class Notebook(unittest.TestCase):
    def test_all_cells_give_what_stands_below_them(self):
        with tempfile.TemporaryDirectory() as folder:
            # A kernel writes files of its own, for whoever runs it.
            os.environ |= {"JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder, "TMPDIR": folder}
            stands = nbformat.read(DOCS / "python.ipynb", as_version=4)
            made = nbformat.read(DOCS / "python.ipynb", as_version=4)
            client = NotebookClient(made, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(DOCS)}})
            client.execute()
        cells = [(a, b) for a, b in zip(stands.cells, made.cells, strict=True) if a.cell_type == "code"]
        self.assertGreater(len(cells), 5)
        for before, after in cells:
            with self.subTest(cell=before.source.splitlines()[0]):
                self.assertEqual(shown(after), shown(before))


if __name__ == "__main__":
    unittest.main()

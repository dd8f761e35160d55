"""Runs the cells of docs/tutorials/python.ipynb in a Jupyter kernel. The output of a cell must equal the one in the notebook."""

import os
import tempfile
import unittest
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"


def shown(cell) -> list[str]:
    """Returns the output of a cell in the notebook."""
    return [output.get("text") or output.get("data", {}).get("text/plain") or str(output) for output in cell.outputs]


class Notebook(unittest.TestCase):
    def test_the_output_of_each_cell_is_below_it(self):
        with tempfile.TemporaryDirectory() as folder:
            # A kernel writes files to these directories of the user.
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

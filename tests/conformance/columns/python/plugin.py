"""Functions on batches: multiplies two columns and passes all others on, whatever their types."""

from dataclasses import dataclass

from millstream import Batch, Context, Description, Field, InputError, Schema, Stage, transform


@dataclass
class Product:
    product: float | None


@transform
class Columns:
    """Multiplies two columns and passes all others on."""

    def describe(self, stage: Stage) -> Description:
        stage.no_config()
        check(stage.input, "price", "float64")
        check(stage.input, "quantity", "int64")
        return Description(
            input=stage.input,
            output=Schema([*stage.input.fields, Field("product", "float64")]),
        )

    def process(self, stage: Stage, context: Context, rows: Batch) -> Batch:
        pairs = zip(rows.values("price"), rows.values("quantity"))
        product = [None if price is None or quantity is None else price * quantity for price, quantity in pairs]
        return rows.beside(Batch.of(Product, product=product))


def check(schema: Schema, name: str, wanted: str) -> None:
    found = schema.field(name).type
    if found != wanted:
        raise InputError(f"column `{name}` is {found}, but must be {wanted}")

/** Functions on batches: multiplies two columns and passes all others on, whatever their types. */

import { Batch, float64, int64, nullable, position, row, transform } from "millstream-sdk";

const Item = row({ price: nullable(float64), quantity: nullable(int64) });
const Product = row({ product: nullable(float64) });

/** Multiplies two columns and passes all others on. */
export default transform.batches((stage) => {
  stage.noConfig();
  const input = stage.input();
  const price = position(input, "price", "float64");
  const quantity = position(input, "quantity", "int64");
  return {
    describe: () => ({ input, output: [...input, ...Product.fields] }),
    process(_, rows) {
      const item = Item.reader(rows.select([price, quantity]));
      const products = Product.writer();
      for (let row = 0; row < rows.rows; row++) {
        const { price, quantity } = item(row);
        products.push({ product: price === null || quantity === null ? null : price * Number(quantity) });
      }
      return { rows: rows.beside(new Batch(rows.rows, products.finish())), rejected: [] };
    },
  };
});

-- Creates the table of the example. The server needs `wal_level = logical`.
create table products (id bigint primary key, name text not null, price numeric(10,2) not null);
insert into products values (1, 'tea', 4.50), (2, 'cup', 12.00);

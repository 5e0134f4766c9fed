-- The storefront, for every shard. `tidegate demo` uses this file too.
--
-- Rows live where the hash of their shard key says: products by id, everything else by profile, so
-- that a profile, its cart and its orders share a shard and foreign keys among them hold.

CREATE TABLE products (
    id          int8 PRIMARY KEY,
    sku         text NOT NULL,
    name        text NOT NULL,
    description text NOT NULL DEFAULT '',
    category    text NOT NULL,
    price       numeric(10,2) NOT NULL CHECK (price >= 0),
    stock       int4 NOT NULL DEFAULT 0 CHECK (stock >= 0),
    attributes  jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX products_by_price ON products (price);
CREATE INDEX products_by_category ON products (category, price);

CREATE TABLE profiles (
    id          int8 PRIMARY KEY,
    email       text NOT NULL,
    name        text NOT NULL,
    country     text NOT NULL CHECK (length(country) = 2),
    preferences jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- No foreign key to products: those may be on another shard.
CREATE TABLE carts (
    profile_id  int8 REFERENCES profiles (id) ON DELETE CASCADE,
    product_id  int8,
    quantity    int4 NOT NULL CHECK (quantity > 0),
    added_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (profile_id, product_id)
);

CREATE TABLE orders (
    profile_id  int8 REFERENCES profiles (id),
    id          int8,
    status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'shipped', 'delivered', 'cancelled')),
    total       numeric(12,2) NOT NULL CHECK (total >= 0),
    items       jsonb NOT NULL,
    placed_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (profile_id, id)
);
CREATE INDEX orders_by_time ON orders (placed_at);

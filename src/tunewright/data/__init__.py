"""The data room: records, readers, audit, split, rendering and batches."""

"""Running text: documents, passages, the matcher of names, cloze prompts, text found again, tables read in parts."""

"""Running text: passages, the matcher of names, cloze prompts, tables read a part at a time."""
